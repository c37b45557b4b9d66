SELECT model, position, hash
FROM projections.generations
WHERE position > 0
ORDER BY position DESC
