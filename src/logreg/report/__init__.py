"""What people look at: the terminal, figures, TensorBoard, the leaderboard. Reads results, never changes them."""
