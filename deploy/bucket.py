"""Makes the bucket of ``DLBOOKS_REMOTE`` if it is missing; files named on the command line are kept in it as ``rebuilds/<time>/<file>``."""

import os
import sys
import time
from pathlib import Path
from urllib.parse import urlsplit

import boto3
from botocore.exceptions import ClientError

bucket = urlsplit(os.environ["DLBOOKS_REMOTE"]).netloc
s3 = boto3.client("s3")  # endpoint and keys from AWS_ENDPOINT_URL, AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY
try:
    s3.head_bucket(Bucket=bucket)
except ClientError as error:
    if error.response["Error"]["Code"] != "404":
        sys.exit(f"error: bucket {bucket}: {error}")
    s3.create_bucket(Bucket=bucket)
    print(f"made the bucket {bucket}")
stamp = time.strftime("%Y-%m-%dT%H-%M-%SZ", time.gmtime())
for name in sys.argv[1:]:
    key = f"rebuilds/{stamp}/{Path(name).name}"
    s3.upload_file(name, bucket, key)
    print(f"kept {name} as s3://{bucket}/{key}")
