"""A target: where the work is done. Run it with: flask --app examples/target run --port 9000"""

import os

from flask import Flask, request

from taskqueue.client import InvalidSignature, verify

app = Flask(__name__)
SECRET = os.environ["TASKQUEUE_SIGNING_SECRET"]
done = {}  # by idempotency key; in real life a table, written in the transaction that does the work


@app.post("/api/process")
def process():
    try:
        payload = verify(request.headers, request.get_data(), SECRET)
    except InvalidSignature as error:
        return {"error": str(error)}, 401
    key = request.headers["Idempotency-Key"]  # the same on every attempt of a task
    if key not in done:
        done[key] = {"processed": payload["jobId"]}
    return done[key]  # any 2xx means done, and what we say here is the task's result
