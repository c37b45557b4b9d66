-- How many claims of each namespace are in each state, and which: the first 8 bytes of the
-- SHA-256 of their ids, all of them combined with XOR.
SELECT namespace, status, count(*),
       bit_xor(('x' || encode(substr(sha256(convert_to(claim_id, 'UTF8')), 1, 8), 'hex'))::bit(64)::bigint)
FROM {schema}.claims
GROUP BY namespace, status
