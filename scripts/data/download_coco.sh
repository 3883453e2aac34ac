#!/usr/bin/env bash
# Downloads COCO 2017 from its own server, verifies it, unpacks it into COCO's layout and checks it. See --help.
set -euo pipefail
project=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)

usage() {
  cat <<'END'
usage: scripts/data/download_coco.sh ROOT [--only train2017|val2017] [--keep-zips] [--no-check]

Downloads COCO 2017 into ROOT: annotations/instances_{train,val}2017.json, train2017/ (118,287 images), val2017/ (5,000).
Downloads 20.4 GB; needs up to 40.5 GB of disk while unpacking and 21.2 GB at the end. Then runs `cocotag check` on each split.

  --only SPLIT   only the images of this split; val2017 downloads 1.1 GB (the annotation archive contains both splits)
  --keep-zips    keep the archives in ROOT; archives that you put there yourself are used and never removed
  --no-check     do not run `cocotag check`, which reads every image

To resume after an interruption, run the same command again. Existing files are kept.
Exit status: 0 done; 1 done, but the check has findings; 2 failed, with one line that says what to do; 130 stopped.

Environment: COCO_URL, the address of a mirror instead of http://images.cocodataset.org; PYTHON, an interpreter with cocotag;
COCO_RETRY_SECONDS, the first pause before a retry (1); COCO_MANIFEST, a file instead of the table in this script.
END
}

# Path on the server, bytes, SHA-256, bytes on disk when unpacked (rounded up), number of unpacked files.
# COCO publishes no checksums. Sizes and SHA-256 are from tensorflow/datasets, tensorflow_datasets/url_checksums/coco.txt;
# pytorch/vision has the same SHA-256 in torchvision/prototype/datasets/_builtin/coco.py. The address is http, so only they
# authenticate the content.
manifest() {
  if [ -n "${COCO_MANIFEST:-}" ]; then
    cat -- "$COCO_MANIFEST"
    return
  fi
  cat <<'END'
annotations/annotations_trainval2017.zip 252907541 113a836d90195ee1f884e704da6304dfaaecff1f023f49b6ca93c4aaae470268 490000000 2
zips/val2017.zip 815585330 4f7e2ccb2866ec5041993c9cf2a952bbed69647b115d0f74da7ce8f4bef82f05 840000000 5000
zips/train2017.zip 19336861798 69a8bb58ea5f8f99d24875f21416de2e9ded3178e903f1f7603e283b9e06d929 19800000000 118287
END
}

say() { echo "$*" >&2; }
fail() {
  say "$*"
  exit 2
}
# The part that an archive contains: annotations, val2017 or train2017.
part_of() { # PATH
  case $1 in
    annotations/*) echo annotations ;;
    *) basename "$1" .zip ;;
  esac
}
# Size of a file in bytes; 0 if it does not exist.
size() { if [ -f "$1" ]; then wc -c <"$1" | tr -d ' '; else echo 0; fi; }
gb() { awk -v bytes="$1" 'BEGIN { printf "%.1f GB", bytes / 1e9 }'; }

# Long work runs as a background job that the script waits for: only then does bash handle a signal at once.
child=''
job() {
  local status=0
  "$@" &
  child=$!
  wait "$child" || status=$?
  child=''
  return "$status"
}
# shellcheck disable=SC2317,SC2329 # the trap calls it
stop() {
  trap '' INT TERM
  if [ -n "$child" ] && kill "$child" 2>/dev/null; then wait "$child" || true; fi
  say "Stopped. Finished work is kept; run the same command to resume."
  exit 130
}

# Whether a part is unpacked. Unfinished work of this script has another name, so a folder with other images is the user's.
is_there() { # PART FILES
  local count
  if [ "$1" = annotations ]; then
    [ -f "$root/annotations/instances_train2017.json" ] && [ -f "$root/annotations/instances_val2017.json" ]
    return
  fi
  [ -d "$root/$1" ] || return 1
  count=$(find "$root/$1/" -maxdepth 1 -name '*.jpg' | wc -l | tr -d ' ')
  [ "$count" -ne "$2" ] || return 0
  [ -n "$(ls -A "$root/$1/")" ] || return 1
  fail "$root/$1 has another number of images ($count) than COCO's ($2). Nothing was changed. Move it away and run again."
}

# Download one file, or resume its download. Without curl's --retry, which discards what the failed call had downloaded.
fetch() { # URL FILE BYTES
  local url=$1 file=$2 bytes=$3 best have code length status tries=0 pause=$first_pause
  local options=(--fail --location --connect-timeout 30 --speed-limit 1 --speed-time 60 --max-filesize "$bytes")
  [ -t 2 ] || options+=(--silent --show-error) # show curl's progress only on a terminal
  best=$(size "$file")
  while :; do
    have=$(size "$file")
    if [ "$have" -eq "$bytes" ]; then return; fi
    if [ "$have" -gt "$bytes" ]; then rm -f -- "$file"; fi
    status=0
    job curl "${options[@]}" --continue-at - --dump-header "$file.headers" --output "$file" "$url" || status=$?
    # Status and length in the last response, after redirections.
    read -r code length < <(tr -d '\r' 2>/dev/null <"$file.headers" | awk '
      $1 ~ /^HTTP\// { code = $2; bytes = 0 }
      tolower($1) == "content-length:" { bytes = $2 }
      END { printf "%d %.0f\n", code, bytes }')
    rm -f -- "$file.headers"
    have=$(size "$file")
    case $status:$code in
      0:416 | 22:416) # the server's file is not longer than the part here, which is too short: the part is of another file
        rm -f -- "$file"
        have=0
        ;;
      0:*)
        if [ "$have" -ne "$bytes" ]; then
          rm -f -- "$file"
          fail "$url gave $have bytes, but COCO's file has $bytes. They were removed. $look"
        fi
        return
        ;;
      33:*) # it sends the whole file although the rest was requested
        if [ "$length" -gt 0 ] && [ "$length" -ne "$bytes" ]; then
          fail "$url now has $length bytes, but COCO's file has $bytes. The downloaded part is kept. $look"
        fi
        say "The server cannot resume a download. Starting again at byte 0."
        rm -f -- "$file"
        have=0
        ;;
      63:*) fail "$url is larger than COCO's file, which has $bytes bytes. $look" ;;
      23:*) fail "$file cannot be written; the disk may be full. The downloaded part is kept. Free some space and run again." ;;
      1:* | 2:* | 3:*) fail "curl cannot use the address $url. Correct COCO_URL and run again." ;;
      22:408 | 22:425 | 22:429) ;; # temporary: retry
      22:4*) fail "$url answered $code. $look" ;;
    esac
    if [ "$have" -gt "$best" ]; then best=$have tries=0 pause=$first_pause; fi
    tries=$((tries + 1))
    if [ "$tries" -ge 8 ]; then
      fail "$url failed 8 times in a row, at $best of $bytes bytes. The part is kept. Check the network and run again."
    fi
    say "Connection lost at $have of $bytes bytes. Resuming in $pause s."
    job sleep "$pause"
    pause=$(awk -v pause="$pause" 'BEGIN { print (pause * 2 < 60) ? pause * 2 : 60 }')
  done
}

# Keep an unpacked archive under its own name with --keep-zips, else remove it.
put_away() { # ARCHIVE BYTES
  rm -f -- "$1.part.headers"
  if [ -n "$keep" ] && [ "$(size "$1.part")" -eq "$2" ]; then mv -- "$1.part" "$1"; else rm -f -- "$1.part"; fi
}

root='' only='' keep='' check=yes
first_pause=${COCO_RETRY_SECONDS:-1}
look="Check the address (COCO_URL) and run again."
while [ $# -gt 0 ]; do
  case $1 in
    -h | --help)
      usage
      exit 0
      ;;
    --only)
      [ $# -ge 2 ] || fail "--only takes train2017 or val2017."
      only=$2
      shift
      ;;
    --only=*) only=${1#*=} ;;
    --keep-zips) keep=yes ;;
    --no-check) check='' ;;
    -*) fail "Unknown option $1. See: scripts/data/download_coco.sh --help" ;;
    *)
      [ -z "$root" ] || fail "Give one ROOT, not two: $root and $1. See: scripts/data/download_coco.sh --help"
      root=$1
      ;;
  esac
  shift
done
[ -n "$root" ] || fail "ROOT is missing. Give a folder: scripts/data/download_coco.sh ROOT. See: scripts/data/download_coco.sh --help"
case $only in
  '' | train2017 | val2017) ;;
  *) fail "--only is '$only'; it takes train2017 or val2017." ;;
esac
[ -z "${COCO_MANIFEST:-}" ] || [ -r "$COCO_MANIFEST" ] || fail "COCO_MANIFEST is $COCO_MANIFEST, which cannot be read."
command -v curl >/dev/null || fail "curl is not installed. On Debian or Ubuntu run: apt-get install curl"
python=${PYTHON:-${COCOTAG_VENV:-$project/.venv}/bin/python}
[ -n "${PYTHON:-}" ] || [ -x "$python" ] || python=python3
"$python" -c 'import cocotag' 2>/dev/null ||
  fail "$python has no cocotag, which verifies and unpacks. Run: pip install $project, or set PYTHON to another interpreter."
base=${COCO_URL:-http://images.cocodataset.org}
base=${base%/}

mkdir -p -- "$root" 2>/dev/null || fail "$root cannot be created. Choose another folder."
root=$(cd -- "$root" && pwd)
[ -w "$root" ] || fail "$root cannot be written. Choose another folder."
# Two runs in one folder would write to the same file. curl inherits the lock, since it may outlive a killed run.
exec 9<"$root"
if command -v flock >/dev/null; then
  flock -n 9 || [ $? -ne 1 ] || fail "Another download into $root is running. Wait until it ends."
fi
trap stop INT TERM

# The missing parts, and the most disk that they need at once: each archive is removed when it is unpacked.
missing=() splits=() to_fetch=0 held=0 height=0
while read -r path bytes sha256 unpacked files; do
  part=$(part_of "$path")
  archive=$root/${path##*/}
  if [ -n "$only" ] && [ "$part" != annotations ] && [ "$part" != "$only" ]; then continue; fi
  [ "$part" = annotations ] || splits+=("$part")
  if is_there "$part" "$files"; then
    say "$root/$part is already complete."
    put_away "$archive" "$bytes"
    continue
  fi
  missing+=("$path $bytes $sha256 $files")
  rest=0
  [ -f "$archive" ] || rest=$((bytes - $(size "$archive.part")))
  if [ -d "$root/.$part.unpacking" ]; then
    unpacked=$((unpacked - 1024 * $(du -sk "$root/.$part.unpacking" | cut -f 1)))
  fi
  to_fetch=$((to_fetch + rest))
  if [ $((held + rest + unpacked)) -gt "$height" ]; then height=$((held + rest + unpacked)); fi
  held=$((held + unpacked))
  [ -z "$keep" ] || held=$((held + rest))
done < <(manifest)
free=$("$python" -c 'import shutil, sys; print(shutil.disk_usage(sys.argv[1]).free)' "$root")
if [ "$free" -lt "$height" ]; then
  fail "$root has $(gb "$free") of free disk, but the download needs $(gb "$height"): $(gb "$to_fetch") and the unpacked files." \
    "Free some space, choose another folder, or download less: --only val2017."
fi
if [ ${#missing[@]} -eq 0 ]; then
  say "Nothing to download."
else
  say "To download: $(gb "$to_fetch"). Most disk needed at once: $(gb "$height"); free: $(gb "$free")."
fi

# Verify and unpack; returns 3 if the archive differs from the published one.
unpack() { # ARCHIVE PART FILES BYTES SHA256
  job "$python" "$project/scripts/data/unpack_coco.py" "$1" "$root" "${@:2}"
}
for line in ${missing[@]+"${missing[@]}"}; do # so that bash before 4.4 takes an empty list
  read -r path bytes sha256 files <<<"$line"
  part=$(part_of "$path")
  archive=$root/${path##*/}
  status=0
  if [ -f "$archive" ]; then
    say "Using $archive."
    unpack "$archive" "$part" "$files" "$bytes" "$sha256" || status=$?
    [ "$status" -ne 3 ] || fail "$archive was not changed. Move it away and run again."
  else
    say "$base/$path -> $archive"
    fetch "$base/$path" "$archive.part" "$bytes"
    unpack "$archive.part" "$part" "$files" "$bytes" "$sha256" || status=$?
    if [ "$status" -eq 3 ]; then
      rm -f -- "$archive.part"
      fail "It was removed, because it is damaged or is not COCO's. Run again to download it again."
    fi
  fi
  [ "$status" -eq 0 ] || exit 2
  put_away "$archive" "$bytes"
done

verdict=0
if [ -n "$check" ]; then
  for split in "${splits[@]}"; do
    status=0
    say "+ cocotag check $root --split $split"
    job "$python" -m cocotag check "$root" --split "$split" || status=$?
    if [ "$status" -gt "$verdict" ]; then verdict=$status; fi
  done
fi
say "COCO 2017 is in $root. Next: cocotag train --config coco_mobilenetv2 --data.root $root"
exit "$verdict"
