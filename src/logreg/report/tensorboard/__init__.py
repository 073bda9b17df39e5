"""TensorBoard: event files, their protocol buffers, and the texts and curves of its tabs."""
