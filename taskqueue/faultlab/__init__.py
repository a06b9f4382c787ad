"""The fault lab: a target that fails on request, in every way there is a word for."""
