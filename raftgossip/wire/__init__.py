"""Values to bytes and back: protobuf for messages, raw float32 for models; nothing is ever unpickled."""
