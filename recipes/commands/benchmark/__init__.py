"""What `recipes bench` does: the cases, the contestants, and how they take turns."""
