"""The two models by their configurations; importing this package does not import torch.

backbone.py        the CNN from its configuration
caption_writer.py  E2E-VLP's decoder as a language model
config.py          configurations, presets, paper() and official()
e2e_vlp.py         E2E-VLP
label_masking.py   which visual tokens are hidden
model.py           what both are: see, read; cells by a sampled mask
soho.py            SOHO
"""

from vlp_fast.models.config import E2EVLPConfig, ModelConfig, SohoConfig, model_names

__all__ = ["E2EVLPConfig", "ModelConfig", "SohoConfig", "model_names"]
