"""Settings of Ray and Tune, alike in every process of a sweep."""

OBJECT_STORE_BYTES = 100 * 2**20  # nothing of size goes through it
PATIENCE = "TUNE_FUNCTION_THREAD_TIMEOUT_S"
#: Variables, read from the environment.
SETTINGS = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_TRAIN_ENABLE_V2_MIGRATION_WARNINGS": "0",
    # The older output is the one that `verbose=0` silences altogether.
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    # Our worker writes the rows; Tune's loggers would write them all again.
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    # Tune's own snapshots are a cache that nothing reads.
    "TUNE_GLOBAL_CHECKPOINT_S": "600",
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",
    # Every trial of a worker that is taken over runs in a new thread, and glibc gives new threads
    # new arenas: some 100 MB more a trial, up to eight arenas a core.
    "MALLOC_ARENA_MAX": "2",
    # How long a worker that is taken over may need to leave its last trial.
    PATIENCE: "60",
    # A worker for every core at Ray's start: none of them is ever used, since Tune's trials have an
    # environment of their own.
    "RAY_prestart_worker_first_driver": "0",
}
#: What the head tells every process of a cluster (`ray start --head --system-config`). With Ray's
#: own 300 s and 20 s a node that is cut off for half a minute costs its trials their connections,
#: which is noticed after five minutes.
SYSTEM_CONFIG = {
    "grpc_client_keepalive_time_ms": 30_000,  # a client asks so often whether its server is there
    "grpc_keepalive_timeout_ms": 60_000,  # a server waits so long for a client's answer
}
