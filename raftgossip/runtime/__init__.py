"""Asyncio, gRPC, files and the clock: performs what the cores decide, and brings them what happens."""
