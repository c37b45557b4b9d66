SELECT coalesce(max(generation), 0) + 1
FROM projections.generations
WHERE model = $1
