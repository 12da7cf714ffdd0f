"""Makes thumbnails of pictures that land in a bucket under `in/`. They land beside them, under `thumbnails/`."""

import io
import os

import boto3
import dayfly
from PIL import Image

app = dayfly.App(os.environ.get("THUMBNAILER_NAME", "thumbnailer"), memory=512, requirements=["pillow==13.0.0"])
SIZES = [64, 256]


@app.on_object("pictures", prefix="in/", timeout=60)
def thumbnails(object):
    bucket = boto3.client("s3")
    picture = Image.open(io.BytesIO(bucket.get_object(Bucket=object.bucket, Key=object.key)["Body"].read()))
    for size in SIZES:
        small = picture.convert("RGB")
        small.thumbnail((size, size))
        content = io.BytesIO()
        small.save(content, "JPEG")
        name = os.path.splitext(object.key.removeprefix("in/"))[0]
        key = f"thumbnails/{size}/{name}.jpg"
        bucket.put_object(Bucket=object.bucket, Key=key, Body=content.getvalue(), ContentType="image/jpeg")
        print(f"{key}: {small.width}x{small.height}, {content.tell()} bytes")
