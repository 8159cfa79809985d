"""Generated from proto/ by scripts/genproto.py; never edited."""
