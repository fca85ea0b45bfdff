"""Ask a model served by MLflow: python ask_mlflow.py RUN PICTURE [http://127.0.0.1:5001].

For 8-bit pictures and models whose recipe is the default one; needs numpy and Pillow. RUN is the output folder of the
training, or the folder `models` of an exported bundle: its run.json names the classes.
"""

import json
import sys
import urllib.request
from pathlib import Path

import numpy as np
from PIL import Image

record = json.loads(Path(sys.argv[1], "run.json").read_text(encoding="utf-8"))
size = record["config"]["image_size"]
channels = [channel.convert("F").resize((size, size), Image.Resampling.BILINEAR)  # antialiased, as torch's
            for channel in Image.open(sys.argv[2]).convert("RGB").split()]  # fmt: skip
image = np.stack([np.asarray(channel) for channel in channels]) / 255
image = (image - np.reshape([0.485, 0.456, 0.406], (3, 1, 1))) / np.reshape([0.229, 0.224, 0.225], (3, 1, 1))

request = urllib.request.Request(
    (sys.argv[3] if len(sys.argv) > 3 else "http://127.0.0.1:5001") + "/invocations",
    json.dumps({"inputs": [image.tolist()]}).encode(),
    {"Content-Type": "application/json"},
)
with urllib.request.urlopen(request) as answer:
    *probabilities, unknown = json.load(answer)["predictions"][0]
print(json.dumps({"probabilities": dict(zip(record["classes"], probabilities, strict=True)), "unknown": unknown}))
