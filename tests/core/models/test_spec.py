"""Which combinations of options a model may have, and what the refusals say."""

import pytest

from likeness.config import parse
from likeness.errors import UserError
from likeness.models.spec import ModelSpec


def test_defaults_are_the_plain_model():
    spec = ModelSpec(backbone="resnet18", image_size=64)
    assert (spec.weights, spec.stem, spec.bands, spec.pooling) == ("none", "standard", 3, "gap")
    assert (spec.embedding_dim, spec.space, spec.dropout) == (None, "cosine", 0.0)
    assert spec.attention == "none"


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (
            {"backbone": "vit_b_16", "image_size": 64, "stem": "small"},
            "config.model.stem must be 'standard' for vit_b_16, got 'small'",
        ),
        (
            {"backbone": "vit_b_16", "image_size": 65},
            "config.model.image_size must be a multiple of 16 for vit_b_16, got 65",
        ),
        (
            {"backbone": "vit_b_16", "image_size": 64, "pooling": "gem"},
            "config.model.pooling must be 'gap' or 'class_token' for vit_b_16, got 'gem'",
        ),
        (
            {"backbone": "resnet50", "image_size": 64, "pooling": "class_token"},
            "config.model.pooling must be 'gap' or 'gem' for resnet50, got 'class_token'",
        ),
        (
            {"backbone": "densenet121", "image_size": 31},
            "config.model.image_size must be >= 32 for densenet121 with the standard stem, got 31",
        ),
        (
            {"backbone": "vgg16", "image_size": 64, "stem": "small"},
            "config.model.stem must be 'standard' for vgg16, whose first convolution has stride 1 "
            "already, got 'small'",
        ),
        (
            {"backbone": "alexnet", "image_size": 64, "stem": "small"},
            "config.model.stem must be 'standard' for alexnet, whose layers are made for large",
        ),
        (
            {"backbone": "convnext_tiny", "image_size": 64, "stem": "small"},
            "config.model.stem must be 'standard' for convnext_tiny, which reads patches, got",
        ),
        (
            {"backbone": "convnext_tiny", "image_size": 64, "pooling": "gem"},
            "config.model.pooling must be 'gap' for convnext_tiny, got 'gem'",
        ),
        (
            {"backbone": "alexnet", "image_size": 62},
            "config.model.image_size must be >= 63 for alexnet with the standard stem, got 62",
        ),
        (
            {"backbone": "vgg16", "image_size": 31},
            "config.model.image_size must be >= 32 for vgg16",
        ),
        (
            {"backbone": "convnext_tiny", "image_size": 31},
            "config.model.image_size must be >= 32 for convnext_tiny",
        ),
        (
            {"backbone": "vgg16", "image_size": 64, "attention": "parallel"},
            "config.model.attention must be 'none' for vgg16: it belongs into the residual blocks "
            "of a ResNet, got 'parallel'",
        ),
        (
            {"backbone": "convnext_tiny", "image_size": 64, "attention": "sum"},
            "config.model.attention must be 'none' for convnext_tiny",
        ),
        (
            {"backbone": "resnet18", "image_size": 64, "attention": "both"},
            "config.model.attention must be 'none', 'parallel', 'sequential' or 'sum', got 'both'",
        ),
        (
            {"backbone": "resnet18", "image_size": 64, "attention_options": {"reduction": 0}},
            "config.model.attention_options.reduction must be",
        ),
        (
            {"backbone": "resnet18", "image_size": 64, "attention_options": {"gates": "multiply"}},
            "config.model.attention_options.gates must be a known key, got 'multiply'; did you",
        ),
        (
            {"backbone": "inception_bn", "image_size": 64},
            "config.model.image_size must be >= 71 for inception_bn with the standard stem, got 64",
        ),
        (
            {"backbone": "inception_bn", "image_size": [64, 17], "stem": "small"},
            "config.model.image_size must be >= 18 for inception_bn with the small stem, got (64,",
        ),
        (
            {"backbone": "densenet121", "image_size": 64, "last_stride": 1},
            "config.model.last_stride must be 2 for densenet121: it is the stride of the last",
        ),
        (
            {"backbone": "inception_bn", "image_size": 224, "last_stride": 1},
            "config.model.last_stride must be 2 for inception_bn",
        ),
        (
            {"backbone": "resnet50", "image_size": 224, "last_stride": 3},
            "config.model.last_stride must be",
        ),
        ({"backbone": "resnet18", "image_size": 64, "bands": 0}, "config.model.bands must be"),
        ({"backbone": "resnet18", "image_size": 15}, "config.model.image_size must be"),
        *[
            (
                {"backbone": "resnet18", "image_size": size},
                "config.model.image_size must be a side in [16, 4096] pixels, or [height, width] "
                f"of two such sides, got {size}",
            )
            for size in ([64, 15], [64], [64, 32, 3], 64.5)
        ],
        (
            {"backbone": "vit_b_16", "image_size": [64, 32]},
            "config.model.image_size must be one side for vit_b_16, which reads squares, got (64,",
        ),
        (
            {"backbone": "densenet121", "image_size": [64, 16]},
            "config.model.image_size must be >= 32 for densenet121 with the standard stem, got (64",
        ),
        ({"backbone": "resnet18", "image_size": 64, "dropout": 1.0}, "config.model.dropout must"),
        ({"backbone": "resnet18", "image_size": 64, "dropout": float("nan")}, "dropout must be"),
        ({"backbone": "resnet18", "image_size": 64, "embedding_dim": 0}, "embedding_dim must be"),
        (
            {"backbone": "resnet18", "image_size": 64, "weights": ""},
            "config.model.weights must be a string with at least 1 character, got ''",
        ),
        ({"backbone": "resnet18"}, "config.model.image_size must be given, got nothing"),
        ({"backbone": "resnet19", "image_size": 64}, "config.model.backbone must be 'resnet18'"),
    ],
)
def test_refusals_name_the_option_and_the_value(options, sentence):
    with pytest.raises(UserError) as caught:
        parse(ModelSpec, options, "config.model")
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)


def test_small_images_that_each_stem_can_take():
    small = ModelSpec(backbone="densenet121", image_size=16, stem="small")
    standard = ModelSpec(backbone="resnet18", image_size=16)
    tokens = ModelSpec(backbone="vit_b_16", image_size=16, pooling="class_token")
    mobile = ModelSpec(backbone="efficientnet_b0", image_size=16, stem="small")
    assert {spec.image_size for spec in (small, standard, tokens, mobile)} == {16}


def test_images_need_not_be_squares():
    upright = ModelSpec(backbone="resnet18", image_size=(256, 128))
    assert upright.height_width == (256, 128)
    assert ModelSpec(backbone="resnet18", image_size=[64, 64]).image_size == 64
