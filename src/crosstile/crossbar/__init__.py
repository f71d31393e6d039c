"""From digits to currents to codes: encoding, programming, the forward pass, and its oracle."""
