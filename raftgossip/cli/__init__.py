"""The command line, one module per command: arguments and environment -> calls of the other packages, exit codes.

What is heavy (torch, grpc, rich) is imported by a command when it runs, so that `--help` answers at once.
"""
