"""An AWS Lambda handler that answers at once and leaves the work to the queue."""

import os

from taskqueue.client import TaskQueue

APP = os.environ.get("APP_URL", "https://your-app.example")
aq = TaskQueue()  # TASKQUEUE_URL, TASKQUEUE_API_KEY; made once, so that warm invocations find the connection open


def handler(event, context):
    task = aq.tasks.create(
        target_url=f"{APP}/api/process",
        payload={"jobId": event["id"]},
        webhook_url=f"{APP}/api/on-complete",
        retries=3,
        timeout=120,
        idempotency_key=context.aws_request_id,  # Lambda repeats an event under the same id: still one task
        context=context,  # end before the invocation does, whatever happens
    )
    return {"statusCode": 202, "body": task.to_json()}
