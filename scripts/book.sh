#!/usr/bin/env bash
# Builds the pages of docs/, the README and ARCHITECTURE.md as a book for a browser: target/book/index.html.
#
# mdbook is taken from the PATH if it has the version below; otherwise it is built once, which takes minutes, into ~/.cache/tangram (or
# TANGRAM_CACHE). Fails if a link of the book leads nowhere. Can be run again at any time.
set -euo pipefail

version=0.5.4
cd "$(dirname "${BASH_SOURCE[0]}")/.."
cache=${TANGRAM_CACHE:-$HOME/.cache/tangram}/mdbook-$version
mdbook=$(command -v mdbook || true)
if [ -z "$mdbook" ] || [ "$("$mdbook" --version)" != "mdbook v$version" ]; then
    mdbook=$cache/bin/mdbook
    [ -x "$mdbook" ] || cargo install --quiet --locked --root "$cache" --version "$version" mdbook
fi

# The pages with the files that they link to, in folders as in the repository, so that links lead to the same places.
pages=target/book-pages
rm -rf "$pages"
mkdir -p "$pages"
cp -R docs README.md ARCHITECTURE.md CHANGELOG.md configs LICENSE-APACHE LICENSE-MIT "$pages/"
mv "$pages/docs/book.toml" "$pages/"
{
    printf '# Summary\n\n[tangram](README.md)\n'
    sed -e 1d -e 's/](/](docs\//' docs/SUMMARY.md
    printf '%s\n' '- [The code](ARCHITECTURE.md)' '- [Changes](CHANGELOG.md)'
} >"$pages/SUMMARY.md"
rm "$pages/docs/SUMMARY.md"
# The list of pages is no page of the book.
sed -i 's/\[SUMMARY\.md\](SUMMARY\.md)/the list on the left/' "$pages/docs/README.md"
"$mdbook" build "$pages" --dest-dir "$PWD/target/book"

wrong=0
while IFS= read -r page; do
    while IFS= read -r link; do
        file=${link%%#*}
        if [ -n "$file" ] && [ ! -e "$(dirname "$page")/$file" ]; then
            echo "book: $page: $link leads nowhere" >&2
            wrong=1
        fi
    done < <(grep -oE '(href|src)="[^"]*"' "$page" | sed -E 's/^[a-z]+="//; s/"$//' | grep -vE '^([a-z]+:|//|$)' | sort -u)
done < <(find target/book -name '*.html' ! -name 404.html | sort)
[ "$wrong" = 0 ]
echo "book: $PWD/target/book/index.html"
