SELECT claim_id, service_id, service, public_key, agent_ip, subject, agent_id, agent_name
FROM webhookrelay.claims
WHERE claim_id = ANY ($1)
