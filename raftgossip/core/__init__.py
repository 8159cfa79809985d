"""What decides: pure state machines that need nothing but the standard library."""
