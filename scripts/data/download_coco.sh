#!/usr/bin/env bash
# Fetches COCO 2017 from COCO's own address, verifies it, unpacks it into COCO's layout and checks it. See --help.
set -euo pipefail
project=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)

usage() {
  cat <<'END'
usage: scripts/data/download_coco.sh ROOT [--only train2017|val2017] [--keep-zips] [--no-check]

Fetches COCO 2017 into ROOT: annotations/instances_{train,val}2017.json, train2017/ (118,287 images), val2017/ (5,000).
20.4 GB to fetch, 40.5 GB of disk at the height, 21.2 GB in the end. Then runs `cocotag check` on each split.

  --only SPLIT   that split's images only; with val2017 1.1 GB to fetch (the annotation archive holds both splits)
  --keep-zips    keep the archives in ROOT; an archive that you put there yourself is used, and never removed
  --no-check     without `cocotag check`, which reads every image

Stopped or broken off, run it again: it goes on where it was. What is there already is left alone.
Exit status: 0 done; 1 done, but the check found something; 2 not done, and one line says what to do; 130 stopped.

Environment: COCO_URL, a mirror's address in place of http://images.cocodataset.org; PYTHON, an interpreter that has cocotag;
COCO_RETRY_SECONDS, the first pause after a break (1); COCO_MANIFEST, a file in place of the table in this script.
END
}

# Path under the address, bytes, SHA-256, bytes on disk when unpacked (rounded up), files unpacked.
# COCO publishes no checksums. Sizes and SHA-256 are those in tensorflow/datasets, tensorflow_datasets/url_checksums/coco.txt;
# the same SHA-256 stand in pytorch/vision, torchvision/prototype/datasets/_builtin/coco.py. The address is http: they alone
# vouch for the content.
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
# What an archive unpacks to: annotations, val2017 or train2017.
part_of() { # PATH
  case $1 in
    annotations/*) echo annotations ;;
    *) basename "$1" .zip ;;
  esac
}
# Bytes of a file; 0 if there is none.
size() { if [ -f "$1" ]; then wc -c <"$1" | tr -d ' '; else echo 0; fi; }
gb() { awk -v bytes="$1" 'BEGIN { printf "%.1f GB", bytes / 1e9 }'; }

# Everything that takes long runs as a job that is waited for: only so does bash hear a signal at once.
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
  say "Stopped. What is there is kept: run the same again to go on."
  exit 130
}

# Is a part unpacked? Unfinished work of this script has another name, so a folder with other images in it is somebody's.
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
  fail "$root/$1 holds $count images and COCO's has $2; nothing was touched. Move it away, and run again."
}

# Download one file, going on where it was. Not with curl's own --retry: it throws away what the broken call fetched.
fetch() { # URL FILE BYTES
  local url=$1 file=$2 bytes=$3 best have code length status tries=0 pause=$first_pause
  local options=(--fail --location --connect-timeout 30 --speed-limit 1 --speed-time 60 --max-filesize "$bytes")
  [ -t 2 ] || options+=(--silent --show-error) # curl's progress is for a terminal
  best=$(size "$file")
  while :; do
    have=$(size "$file")
    if [ "$have" -eq "$bytes" ]; then return; fi
    if [ "$have" -gt "$bytes" ]; then rm -f -- "$file"; fi
    status=0
    job curl "${options[@]}" --continue-at - --dump-header "$file.headers" --output "$file" "$url" || status=$?
    # The last answer, after redirections: its status and how long it says that it is.
    read -r code length < <(tr -d '\r' 2>/dev/null <"$file.headers" | awk '
      $1 ~ /^HTTP\// { code = $2; bytes = 0 }
      tolower($1) == "content-length:" { bytes = $2 }
      END { printf "%d %.0f\n", code, bytes }')
    rm -f -- "$file.headers"
    have=$(size "$file")
    case $status:$code in
      0:416 | 22:416) # it has no more bytes than are here, and these are too few: another file's
        rm -f -- "$file"
        have=0
        ;;
      0:*)
        if [ "$have" -ne "$bytes" ]; then
          rm -f -- "$file"
          fail "$url gave $have bytes, and COCO's file has $bytes. They were removed. $look"
        fi
        return
        ;;
      33:*) # it sends the whole where the rest was asked for
        if [ "$length" -gt 0 ] && [ "$length" -ne "$bytes" ]; then
          fail "$url has $length bytes now, and COCO's file has $bytes. What was fetched before is kept. $look"
        fi
        say "The server cannot go on in the middle of a file. Beginning again at the first byte."
        rm -f -- "$file"
        have=0
        ;;
      63:*) fail "$url is larger than COCO's file, which has $bytes bytes. $look" ;;
      23:*) fail "$file cannot be written; is the disk full? What is there is kept. Free some space, and run again." ;;
      1:* | 2:* | 3:*) fail "curl cannot use the address $url. Mend COCO_URL, and run again." ;;
      22:408 | 22:425 | 22:429) ;; # later, perhaps
      22:4*) fail "$url answered $code. $look" ;;
    esac
    if [ "$have" -gt "$best" ]; then best=$have tries=0 pause=$first_pause; fi
    tries=$((tries + 1))
    if [ "$tries" -ge 8 ]; then
      fail "$url failed 8 times in a row, at $best of $bytes bytes. What is there is kept. Look at the network, and run again."
    fi
    say "Broken off; $have of $bytes bytes are here. Going on in $pause s."
    job sleep "$pause"
    pause=$(awk -v pause="$pause" 'BEGIN { print (pause * 2 < 60) ? pause * 2 : 60 }')
  done
}

# A downloaded archive that is unpacked: kept under its own name if that was asked for, else removed.
put_away() { # ARCHIVE BYTES
  rm -f -- "$1.part.headers"
  if [ -n "$keep" ] && [ "$(size "$1.part")" -eq "$2" ]; then mv -- "$1.part" "$1"; else rm -f -- "$1.part"; fi
}

root='' only='' keep='' check=yes
first_pause=${COCO_RETRY_SECONDS:-1}
look="Look what is at that address (COCO_URL), and run again."
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
      [ -z "$root" ] || fail "One ROOT, not two: $root and $1. See: scripts/data/download_coco.sh --help"
      root=$1
      ;;
  esac
  shift
done
[ -n "$root" ] || fail "Where to? scripts/data/download_coco.sh ROOT; see --help."
case $only in
  '' | train2017 | val2017) ;;
  *) fail "--only is '$only'; it takes train2017 or val2017." ;;
esac
[ -z "${COCO_MANIFEST:-}" ] || [ -r "$COCO_MANIFEST" ] || fail "COCO_MANIFEST is $COCO_MANIFEST, which cannot be read."
command -v curl >/dev/null || fail "curl is needed and is not installed. On Debian or Ubuntu: apt-get install curl"
python=${PYTHON:-${COCOTAG_VENV:-$project/.venv}/bin/python}
[ -n "${PYTHON:-}" ] || [ -x "$python" ] || python=python3
"$python" -c 'import cocotag' 2>/dev/null ||
  fail "$python has no cocotag, which verifies, unpacks and checks. Run: pip install $project; or name an interpreter: PYTHON."
base=${COCO_URL:-http://images.cocodataset.org}
base=${base%/}

mkdir -p -- "$root" 2>/dev/null || fail "$root cannot be made. Choose another place."
root=$(cd -- "$root" && pwd)
[ -w "$root" ] || fail "$root cannot be written to. Choose another place."
# Two runs in one folder would write to one file. curl inherits the lock: a run that was killed may have left one at work.
exec 9<"$root"
if command -v flock >/dev/null; then
  flock -n 9 || [ $? -ne 1 ] || fail "Another download into $root is at work. Wait for its end."
fi
trap stop INT TERM

# What is missing, and how much disk that takes at its height: archives go as soon as they are unpacked.
missing=() splits=() to_fetch=0 held=0 height=0
while read -r path bytes sha256 unpacked files; do
  part=$(part_of "$path")
  archive=$root/${path##*/}
  if [ -n "$only" ] && [ "$part" != annotations ] && [ "$part" != "$only" ]; then continue; fi
  [ "$part" = annotations ] || splits+=("$part")
  if is_there "$part" "$files"; then
    say "$root/$part: there already."
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
  fail "$root has $(gb "$free") of free disk, and $(gb "$height") are needed: $(gb "$to_fetch") to fetch, and unpacking." \
    "Free some, choose another place, or fetch less: --only val2017."
fi
if [ ${#missing[@]} -eq 0 ]; then
  say "Nothing to fetch."
else
  say "To fetch: $(gb "$to_fetch"). Disk needed at the height: $(gb "$height"); free: $(gb "$free")."
fi

# Verify and unpack; gives 3 if the archive is not what was published.
unpack() { # ARCHIVE PART FILES BYTES SHA256
  job "$python" "$project/scripts/data/unpack_coco.py" "$1" "$root" "${@:2}"
}
for line in ${missing[@]+"${missing[@]}"}; do # so that bash before 4.4 takes an empty list
  read -r path bytes sha256 files <<<"$line"
  part=$(part_of "$path")
  archive=$root/${path##*/}
  status=0
  if [ -f "$archive" ]; then
    say "$archive is there already."
    unpack "$archive" "$part" "$files" "$bytes" "$sha256" || status=$?
    [ "$status" -ne 3 ] || fail "$archive was not touched. Move it away, and run again."
  else
    say "$base/$path -> $archive"
    fetch "$base/$path" "$archive.part" "$bytes"
    unpack "$archive.part" "$part" "$files" "$bytes" "$sha256" || status=$?
    if [ "$status" -eq 3 ]; then
      rm -f -- "$archive.part"
      fail "It was removed: damaged on its way, or not COCO's. Run again to fetch it anew."
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
