-- Compare-and-swap: of two assigners that read the same commits one moves it, and the
-- other's transaction comes to nothing.
UPDATE webhookrelay.checkpoint
SET position = $3, hash = $4
WHERE position = $1 AND hash = $2
