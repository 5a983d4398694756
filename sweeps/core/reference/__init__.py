"""What is known of tasks from elsewhere: scales of scores, published returns, noise over seeds."""
