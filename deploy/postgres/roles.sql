-- The roles of Claimledger's processes, and what each may do. Run it once in the
-- database, as a superuser, before the first start; running it again does no harm:
--
--     psql --set ON_ERROR_STOP=1 --single-transaction --file roles.sql "$DATABASE_URL"

-- Roles belong to the whole server, and may be there from another database.
DO $$
DECLARE
    role text;
BEGIN
    FOREACH role IN ARRAY ARRAY['claimledger_projector', 'claimledger_relay', 'claimledger_api'] LOOP
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = role) THEN
            EXECUTE format('CREATE ROLE %I LOGIN', role);
        END IF;
    END LOOP;
END
$$;

-- The database is for these roles alone. The projector makes a schema for each generation
-- of a read model.
DO $$
BEGIN
    EXECUTE format('REVOKE ALL ON DATABASE %I FROM PUBLIC', current_database());
    EXECUTE format('GRANT CONNECT ON DATABASE %I TO claimledger_projector, claimledger_relay, claimledger_api', current_database());
    EXECUTE format('GRANT CREATE ON DATABASE %I TO claimledger_projector', current_database());
END
$$;
REVOKE ALL ON SCHEMA public FROM PUBLIC;

CREATE SCHEMA IF NOT EXISTS projections AUTHORIZATION claimledger_projector;
CREATE SCHEMA IF NOT EXISTS webhookrelay AUTHORIZATION claimledger_relay;

-- The api reads the read models, those that the projector has yet to make included. It
-- hears of their progress with LISTEN, which takes no privilege.
GRANT USAGE ON SCHEMA projections TO claimledger_api;
ALTER DEFAULT PRIVILEGES FOR ROLE claimledger_projector GRANT USAGE ON SCHEMAS TO claimledger_api;
ALTER DEFAULT PRIVILEGES FOR ROLE claimledger_projector GRANT SELECT ON TABLES TO claimledger_api;

-- It also reads how deliveries go, to show it to the webhooks' owners. The secrets in
-- there are sealed.
GRANT USAGE ON SCHEMA webhookrelay TO claimledger_api;
ALTER DEFAULT PRIVILEGES FOR ROLE claimledger_relay IN SCHEMA webhookrelay GRANT SELECT ON TABLES TO claimledger_api;

-- What owners ask of deliveries it adds to one table, and nothing else. The relay makes
-- the table and gives this right itself; here it is for a table that was there before the
-- roles.
DO $$
BEGIN
    IF to_regclass('webhookrelay.requests') IS NOT NULL THEN
        GRANT INSERT ON webhookrelay.requests TO claimledger_api;
    END IF;
END
$$;
