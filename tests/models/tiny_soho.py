"""A SOHO that tests build in milliseconds, as the paper has it and as its code."""

from vlp_fast.models.config import BackboneConfig, SohoConfig, official

PAPER = SohoConfig(
    backbone=BackboneConfig(
        depth=None, block="basic", blocks=(1, 1, 1), widths=(8, 16, 32), stem="small", norm="batch"
    ),
    width=32,
    num_heads=4,
    ffn_dim=64,
    layers=2,
    vocab_size=50,
    max_positions=12,
    num_codes=24,
    dropout=0.0,
)
OFFICIAL = official(PAPER)
