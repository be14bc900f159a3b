"""What was uploaded in parts: known by the same ETag, whoever tells of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from stylequeue.client import StyleQueue
from stylequeue.contract.objects import ImageRef
from stylequeue.operator_file import OperatorFile
from stylequeue.settings import Settings
from stylequeue.uploads import trial
from stylequeue.uploads.rules import Rules
from stylequeue.uploads.sweep import notice_of
from tests.support.listening import operated

PART_BYTES = 5 * 1024**2


def test_a_list_and_a_look_name_the_same_job(settings: Settings, tmp_path: Path) -> None:
    listener = operated(settings, tmp_path, "")
    [rule] = Rules(OperatorFile(listener.operator_file).now, listener).all
    with StyleQueue(listener) as queue:
        where = {"Bucket": "uploads", "Key": "in/parts.jpg"}
        s3: Any = queue._store._client
        begun = {**where, "UploadId": s3.create_multipart_upload(**where)["UploadId"]}
        parts = [
            {"PartNumber": number, "ETag": s3.upload_part(**begun, PartNumber=number, Body=body)["ETag"]}
            for number, body in enumerate((b"1" * PART_BYTES, b"2"), 1)
        ]
        made = s3.complete_multipart_upload(**begun, MultipartUpload={"Parts": parts})
        try:
            [listed] = queue.list_uploads("uploads", "in/parts").uploads
            looked, _ = trial.notice_of(queue, ImageRef(bucket="uploads", key="in/parts.jpg"))
            swept = notice_of(listed, source="sweep")
            assert looked.etag == made["ETag"]
            assert (swept.etag, swept.size_bytes) == (looked.etag, PART_BYTES + 1)
            assert rule.job_id(swept) == rule.job_id(looked)
        finally:
            s3.delete_object(**where)
