"""The embedded engine: llama.cpp's kernels, our own scheduler, in a supervised child process.

`binding` is the C API and nothing else; `tokens` turns messages into token ids and back; `schedule` decides what goes
into the next batch; `sample` draws tokens; `loop` turns the crank; `worker` is the child process; `protocol` is what
the two processes say to each other; `engine` is the port and the supervisor.
"""
