raise ImportError("a command that fails on a typo, or only shows help, has imported torch")
