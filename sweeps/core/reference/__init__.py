"""What planning and analysis share: scales of scores, published returns, noise over seeds, and the
statistics of both."""
