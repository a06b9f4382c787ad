"""The HTTP edge: requests read strictly, verbs called, answers printed, and the document that describes them all."""
