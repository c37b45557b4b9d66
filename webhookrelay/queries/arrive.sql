-- Held until the session ends. Shared: a session of before that the server still takes for
-- alive is not waited for. The second one is for counting.
SELECT pg_advisory_lock_shared(hashtextextended('claimledger webhook relay ' || $1, 0)), pg_advisory_lock_shared($2, hashtext($1))
