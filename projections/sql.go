package projections

import (
	"embed"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"
)

// The statements, one in each file. {schema} stands for the schema of a generation.
//
//go:embed sql
var sqlFiles embed.FS

// statement reads a file of sql. It is for package variables, so that a name without
// a file fails the first test and not the first query.
func statement(name string) string {
	text, err := sqlFiles.ReadFile("sql/" + name)
	if err != nil {
		panic(fmt.Sprintf("projections: %v", err))
	}
	return string(text)
}

// in puts a generation's schema into a statement.
func in(schema, sql string) string {
	return strings.ReplaceAll(sql, "{schema}", pgx.Identifier{schema}.Sanitize())
}
