"""Classify a picture with an exported bundle, without torch: python onnx_without_torch.py BUNDLE PICTURE.

For 8-bit pictures and models whose recipe is the default one; needs onnxruntime, numpy and Pillow.
"""

import json
import sys
from pathlib import Path

import numpy as np
import onnxruntime
from PIL import Image

bundle, picture = Path(sys.argv[1]), sys.argv[2]
record = json.loads((bundle / "models" / "run.json").read_text(encoding="utf-8"))
size = record["config"]["image_size"]
session = onnxruntime.InferenceSession(bundle / "models" / "model.onnx", providers=["CPUExecutionProvider"])

channels = [channel.convert("F").resize((size, size), Image.Resampling.BILINEAR)  # antialiased, as torch's
            for channel in Image.open(picture).convert("RGB").split()]  # fmt: skip
image = np.stack([np.asarray(channel) for channel in channels]) / 255
image = (image - np.reshape([0.485, 0.456, 0.406], (3, 1, 1))) / np.reshape([0.229, 0.224, 0.225], (3, 1, 1))
*probabilities, unknown = session.run(["pred"], {"image": image[np.newaxis].astype(np.float32)})[0][0].tolist()
print(json.dumps({"probabilities": dict(zip(record["classes"], probabilities, strict=True)), "unknown": unknown}))
