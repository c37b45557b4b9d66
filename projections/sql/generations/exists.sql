SELECT EXISTS (SELECT FROM projections.generations WHERE model = $1 AND serving)
