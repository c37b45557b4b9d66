SELECT commits, hash FROM {schema}.chain
