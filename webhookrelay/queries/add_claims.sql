INSERT INTO webhookrelay.claims (claim_id, service_id, service, public_key, agent_ip, subject, agent_id, agent_name)
SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[])
