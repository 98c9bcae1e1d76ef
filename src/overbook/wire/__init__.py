"""The messages between the parts: .proto files, the code generated from them, channel settings, and how large a request
may be; besides, a walker for messages that are not decoded.

Nothing here decides anything. Regenerate with `make proto`; `make lint` fails when the generated
files are stale. `oip.proto` is wire-compatible with the Open Inference Protocol but lives in a proto
package of its own, so that a client library which registers the official one fits in one process.
"""
