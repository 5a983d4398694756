"""World models and policies whose dynamics can be flow-matching ODEs, trained as in PWM."""
