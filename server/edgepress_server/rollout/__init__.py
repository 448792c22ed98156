"""How a release reaches its devices: `decide` is pure, `engine` acts on the store."""
