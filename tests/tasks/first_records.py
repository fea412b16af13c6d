"""A curriculum by whose steps a test says how many records may be seen."""

from vlp_fast.tasks.pretraining.curriculum import Curriculum


class FirstRecords(Curriculum):
    """Step n sees the first n records."""

    def __init__(self) -> None:
        super().__init__(box_counts=(), steps=0)

    def pool(self, step: int) -> int:
        return step
