"""Time: configuration, optimisers, steps, evaluation, checkpoints. The engine knows tasks."""
