"""A webhook receiver: hears how each task ended. Run it with: flask --app examples/webhook_receiver run --port 9001"""

import os

from flask import Flask, request

from taskqueue.client import InvalidSignature, verify

app = Flask(__name__)
SECRET = os.environ["TASKQUEUE_SIGNING_SECRET"]
heard = {}  # by webhook-id: a webhook may come twice


@app.post("/api/on-complete")
def on_complete():
    try:
        event = verify(request.headers, request.get_data(), SECRET)
    except InvalidSignature as error:
        return {"error": str(error)}, 401
    if heard.setdefault(request.headers["webhook-id"], event) is event:
        task = event["data"]
        print(f"{event['type']}: task {task['id']} after {task['attempt']} attempts", flush=True)
    return "", 204  # anything else, and the webhook comes again later
