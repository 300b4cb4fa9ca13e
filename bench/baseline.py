"""llama.cpp's own server core, as the wheel xllamacpp carries it, on the weights and threads that are named."""

import sys
import time

import xllamacpp

WEIGHTS, THREADS, BATCH_THREADS, SLOTS, CONTEXT = sys.argv[1], *map(int, sys.argv[2:])

params = xllamacpp.CommonParams()
params.model.path = WEIGHTS
params.cpuparams.n_threads, params.cpuparams_batch.n_threads = THREADS, BATCH_THREADS
params.n_parallel = SLOTS
params.n_ctx = CONTEXT
params.verbosity = -1
server = xllamacpp.Server(params)
print(server.listening_address, flush=True)
while True:
    time.sleep(3600)
