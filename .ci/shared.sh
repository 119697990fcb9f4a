# Sourced by the scripts of this folder, at the root of the repository.

# lay FOLDER: puts a copy of the tracked (and new, not ignored) files there.
lay() {
    git ls-files -z --cached --others --exclude-standard --deduplicate |
        while IFS= read -r -d '' name; do if [ -e "$name" ]; then printf '%s\0' "$name"; fi; done |
        tar --create --null --no-recursion --files-from=- | tar --extract --directory="$1"
}

timings=()
step() { # step NAME COMMAND...
    local name=$1 began=$SECONDS
    shift
    printf '\n== %s\n' "$name"
    "$@"
    timings+=("$(printf '%5d s  %s' $((SECONDS - began)) "$name")")
}
print_timings() {
    printf '\n== time\n'
    printf '%s\n' "${timings[@]}"
}

# get_uv FOLDER: installs uv there, for `uv`: several environments of nearly the same packages cost little with it.
# It looks for a build of torch for the CPU where pip is told to look.
get_uv() {
    HWSIM_UV=$1/bin/uv
    python3 -m venv "$1"
    "$1/bin/pip" install -q uv==0.13.9
    if [ -n "${PIP_FIND_LINKS:-}" ]; then export UV_FIND_LINKS=${UV_FIND_LINKS:-${PIP_FIND_LINKS// /,}}; fi
}
uv() { "$HWSIM_UV" "$@"; }
