SELECT tablename::text FROM pg_tables WHERE schemaname = 'webhookrelay' ORDER BY tablename
