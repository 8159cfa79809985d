"""The built-in tasks. Each ships its data inside the package, so that nothing is downloaded."""
