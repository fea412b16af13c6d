"""ResNets: torchvision's names, which are ours and timm's, and Hugging Face's.

The classifier is left. Caffe's and Detectron's ResNets (BGR input, the stride in the first 1x1
convolution) have other names and are refused; so are timm's with another stem.
"""

from vlp_fast.weights.layout import Layout, Pairs

HF_RESNET: Pairs = (
    (r"embedder\.embedder\.convolution\.", "conv1."),
    (r"embedder\.embedder\.normalization\.", "bn1."),
    *(
        (rf"encoder\.stages\.{stage}\.layers\.(\d+)\.", rf"layer{stage + 1}.\1.")
        for stage in range(4)
    ),
    (r"shortcut\.convolution\.", "downsample.0."),
    (r"shortcut\.normalization\.", "downsample.1."),
    *((rf"layer\.{number}\.convolution\.", f"conv{number + 1}.") for number in range(3)),
    *((rf"layer\.{number}\.normalization\.", f"bn{number + 1}.") for number in range(3)),
)
"""Hugging Face's spelling of torchvision's names."""

RESNET = r"((?:conv1|bn1|layer\d+)\..+)"

TORCHVISION = Layout(
    name="a torchvision ResNet",
    mark=r"layer1\.0\.conv1\.weight",
    systems=("Soho", "E2EVLP"),
    pairs=((RESNET, r"backbone.\1"),),
)

HUGGING_FACE_RESNET = Layout(
    name="a Hugging Face ResNet",
    mark=r"(?:resnet\.)?embedder\.embedder\.convolution\.weight",
    systems=("Soho", "E2EVLP"),
    spellings=((r"^resnet\.", ""), *HF_RESNET),
    pairs=TORCHVISION.pairs,
)
