#!/bin/bash
# Boots a throw-away machine (see build.sh), runs COMMAND as root in it, prints its output and exits with its exit code.
#
# usage: run.sh [OPTION...] -- COMMAND [ARG...]    or    run.sh [OPTION...] -c 'SHELL TEXT'
#   --kernel 6.1|6.12|sid|uml   (6.12) uml is User-Mode Linux: no emulator, boots in a second, processors at full speed;
#                          but one processor, slow system calls, no cpuset, hugetlb, io.weight, NUMA, CRIU, landlock
#   --cgroup v2|v1|hybrid  (v2) v1 and hybrid take kernel 6.1: Debian's later ones have no v1 memory and cpuset
#   --init systemd|none    (systemd) none: cgroup2 mounted with all controllers on, and nothing else; 2 s faster
#   --user                 COMMAND runs as user tester (1000), in a delegated service of his systemd manager
#   --share DIR, --share-ro DIR   DIR appears at /mnt/share, read-write or read-only
#   --file SRC[:DST]       copies a file or folder into the machine before the job (to /root/NAME); repeatable
#   --cpus N (2)   --mem MB (2048)   --timeout SECONDS (600)   --append "KERNEL ARGUMENTS"
#   --accel tcg|kvm        (kvm where /dev/kvm and vmx or svm are there, else tcg)
#   --tty                  COMMAND gets this terminal (not with uml)
#   --console FILE         keeps the machine's console    -v   shows it on stderr, and how long all took
# environment: VM_OUT (see build.sh), VM_CPU (QEMU's processor model), VM_PIN (the processor that uml runs on)
# exit code: COMMAND's; 124 after a timeout; 125 when the machine failed (the end of its console is on stderr)
#
# Every run starts from the same image and changes nothing of it. However a run ends, it leaves no process, mount or file.
# shellcheck disable=SC2054 # the commas are QEMU's
set -euo pipefail
here=$(cd "$(dirname "$(readlink -f "$0")")" && pwd)
# shellcheck source=integration/vm/where.sh
. "$here/where.sh"
die() { echo "run.sh: $*" >&2; exit 125; }

kernel=6.12 share='' share_mode=rw files=() user='' init=systemd cgroup=v2 cpus=2 mem=2048 timeout=600 append='' accel=''
tty='' console='' verbose='' text='' cpu=${VM_CPU:-}
while [ $# -gt 0 ]; do
    case $1 in
    --kernel) kernel=$2; shift ;;
    --cgroup) cgroup=$2; shift ;;
    --init) init=$2; shift ;;
    --user) user=yes ;;
    --share) share=$2; shift ;;
    --share-ro) share=$2 share_mode=ro; shift ;;
    --file) files+=("$2"); shift ;;
    --cpus) cpus=$2; shift ;;
    --mem) mem=$2; shift ;;
    --timeout) timeout=$2; shift ;;
    --append) append=$2; shift ;;
    --accel) accel=$2; shift ;;
    --tty) tty=yes ;;
    --console) console=$2; shift ;;
    -v) verbose=yes ;;
    -c) text=$2; shift ;;
    -h | --help) sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//p}' "$0"; exit 0 ;;
    --) shift; break ;;
    *) die "unknown option $1 (COMMAND goes after --)" ;;
    esac
    shift
done
[ $# -gt 0 ] || [ -n "$text" ] || die "no command"
built=$out/k/$kernel
if [ ! -s "$built/mods.img" ] || [ ! -s "$out/root.img" ]; then
    die "kernel $kernel isn't built: $here/build.sh --kernel $kernel"
fi
if [ "$kernel" = uml ]; then
    accel=uml
elif [ -z "$accel" ]; then
    accel=tcg
    if [ -w /dev/kvm ] && grep -qwE 'vmx|svm' /proc/cpuinfo; then accel=kvm; fi
fi
case $accel in
# qemu64 lacks SMAP and ERMS, which make system calls and page clearing two to four times slower in emulation.
tcg) accelerator=tcg,thread=multi,tb-size=512 cpu=${cpu:-qemu64} ;;
kvm) accelerator=kvm cpu=${cpu:-host} ;;
uml) [ -z "$tty" ] || die "--tty doesn't go with uml" ;;
*) die "--accel takes tcg or kvm" ;;
esac

# Programs of tools/ run with their own loader and libraries, whatever the host's are.
tools=$out/tools
tool() {
    local program=$1 libraries=$tools/usr/lib/x86_64-linux-gnu
    shift
    exec "$tools/usr/lib64/ld-linux-x86-64.so.2" --library-path "$libraries:$libraries/pulseaudio" "$tools/$program" "$@"
}

work=$(cd "$(mktemp -d "${TMPDIR:-/tmp}/vm.XXXXXX")" && pwd -P)
machine='' virtiofsd='' reader='' tail=''
# shellcheck disable=SC2317 # called by the trap
clean_up() {
    set +e # a failing last command would become the exit code
    [ -z "$machine" ] || kill -9 "$machine" 2>/dev/null
    [ -z "$virtiofsd" ] || kill "$virtiofsd" 2>/dev/null
    [ -z "$tail" ] || kill "$tail" 2>/dev/null
    [ -z "$console" ] || cp "$work/console" "$console" 2>/dev/null
    rm -rf "$work"
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# --- the job: a second cpio archive behind the initramfs, unpacked by the kernel, copied to /run/job by its init --------
job=$work/j/job
mkdir -p "$job/files"
if [ -n "$text" ]; then
    printf '%s' "$text" >"$job/text"
    set -- bash /run/job/text "$@"
fi
[ -z "$user" ] || set -- as-user "$@"
{
    number=0
    for file in ${files[@]+"${files[@]}"}; do
        number=$((number + 1))
        from=${file%%:*} to=/root/$(basename "${file%%:*}")
        [ "$from" = "$file" ] || to=${file#*:}
        [ -e "$from" ] || die "no file $from"
        mkdir "$job/files/$number"
        cp -a "$from" "$job/files/$number/${to##*/}"
        printf 'mkdir -p %q && cp -a %q %q\n' "${to%/*}" "/run/job/files/$number/${to##*/}" "${to%/*}"
    done
    printf 'exec'
    printf ' %q' "$@"
    echo
} >"$job/cmd"
if [ -n "$share" ]; then
    [ -d "$share" ] || die "no folder $share"
    share=$(cd "$share" && pwd -P)
    echo "$share_mode /host$share" >"$job/share"
fi
if [ "$accel" = uml ]; then
    echo "/host$work" >"$job/hostdir"
    : >"$work/out"
fi
if [ -n "$tty" ]; then
    { stty size 2>/dev/null | awk '{ print "rows", $1, "cols", $2 }' || :; } >"$job/tty"
fi
chmod -R a+rX "$work/j"
(cd "$work/j" && find . | cpio -o -H newc --quiet) | cat "$built/initrd.cpio" - >"$work/initrd"

# --- the kernel's command line ------------------------------------------------------------------------------------------
case $init in
systemd) boot=systemd.unit=vmrun.target ;;
none) boot=vminit=/usr/local/sbin/vmrun-init ;;
*) die "--init takes systemd or none" ;;
esac
legacy="SYSTEMD_CGROUP_ENABLE_LEGACY_FORCE=1 systemd.unified_cgroup_hierarchy=0"
case $init-$cgroup in
*-v2) ;;
none-v1) boot+=" vmcgroup=v1" ;;
systemd-hybrid) boot+=" $legacy" ;;
systemd-v1) boot+=" $legacy systemd.legacy_systemd_cgroup_controller=1" ;;
*) die "--cgroup $cgroup doesn't go with --init $init" ;;
esac
arguments="quiet panic=-1 rcupdate.rcu_expedited=1 apparmor=1 security=apparmor systemd.show_status=0 $boot $append"

# --- the machine --------------------------------------------------------------------------------------------------------
# Each is one process that takes everything with it when it is killed.
qemu() {
    tool usr/bin/qemu-system-x86_64 "${qemu_arguments[@]}"
}

# On one processor, any of those allowed: the machine's kernel and its processes take turns, and hand-overs between
# processors make it two to eight times slower. In the chroot for a C library that is new enough; in a pid namespace
# because a killed User-Mode Linux leaves its children.
user_mode_linux() {
    local allowed
    allowed=$(taskset -cp "$BASHPID" | sed 's/.*: //' | tr ',' '\n' | while IFS=- read -r a b; do seq "$a" "${b:-$a}"; done)
    # shellcheck disable=SC2016,SC2086 # expanded by the inner shell; the arguments are meant to be split
    exec taskset -c "${VM_PIN:-$(echo "$allowed" | shuf -n 1)}" unshare --mount --pid --fork --kill-child bash -ec '
        mount --make-rprivate /
        mount -t proc proc "$1/proc"
        mount --rbind /dev "$1/dev"
        mount --rbind / "$1/host"
        shift
        exec chroot "$@"' - "$tools" "$tools" "/host$built/linux" mem="${mem}M" initrd="/host$work/initrd" \
        ubd0="/host$work/cow,/host$out/root.img" ubd1r="/host$built/mods.img" uml_dir="/host$work/" umid=vm \
        con=null ssl=null con0=null,fd:1 seccomp=on $arguments >"$work/console"
}

share_by_virtiofs() {
    (tool usr/libexec/virtiofsd --socket-path="$work/fs.sock" --shared-dir="$share" --sandbox=none --seccomp=none \
        --cache=auto --announce-submounts --log-level=error) 2>"$work/virtiofsd.log" &
    virtiofsd=$!
    for _ in $(seq 200); do
        [ ! -S "$work/fs.sock" ] || break
        kill -0 $virtiofsd 2>/dev/null || break
        sleep 0.02
    done
    [ -S "$work/fs.sock" ] || {
        cat "$work/virtiofsd.log" >&2
        die "virtiofsd didn't start"
    }
    qemu_arguments+=(-object "memory-backend-memfd,id=mem,size=${mem}M,share=on" -numa node,memdev=mem
        -chardev "socket,id=fs,path=$work/fs.sock" -device vhost-user-fs-pci,chardev=fs,tag=share)
}

begun=$(date +%s%N)
: >"$work/console"
if [ -n "$verbose" ]; then
    tail -f "$work/console" >&2 &
    tail=$!
fi
input=/dev/null
if [ "$accel" = uml ]; then
    (user_mode_linux) </dev/null 2>"$work/log" &
    machine=$!
    tail -c +1 -s 0.1 -f --pid=$machine "$work/out" 2>/dev/null &
    reader=$!
else
    image=$built/vmlinux
    [ -s "$image" ] || image=$built/vmlinuz
    qemu_arguments=(-nodefaults -no-user-config -display none -no-reboot -M q35 -accel "$accelerator" -cpu "$cpu"
        -smp "$cpus" -m "$mem" -L "$tools/usr/share/qemu" -L "$tools/usr/share/seabios"
        -kernel "$image" -initrd "$work/initrd"
        -append "console=ttyS0 mitigations=off random.trust_cpu=on $arguments"
        # Nobody writes to the image; the other kind of machine locks it all the same.
        -drive "file=$out/root.img,format=raw,if=none,id=d0,snapshot=on,cache=unsafe,file.locking=off" -device virtio-blk-pci,drive=d0
        -drive "file=$built/mods.img,format=raw,if=none,id=d1,readonly=on" -device virtio-blk-pci,drive=d1
        -device virtio-rng-pci -serial "file:$work/console" -device virtio-serial-pci
        -chardev "file,id=rc,path=$work/rc" -device virtserialport,chardev=rc,name=vm.rc)
    [ -z "$share" ] || share_by_virtiofs
    if [ -n "$tty" ]; then
        qemu_arguments+=(-chardev "stdio,id=out,signal=off" -device virtconsole,chardev=out)
        input=/dev/stdin
    else
        # Not `-chardev stdio`: with stdin at its end it closes, and the guest's writes block for ever.
        exec 3> >(exec cat)
        reader=$!
        qemu_arguments+=(-add-fd "fd=3,set=1" -chardev "file,id=out,path=/dev/fdset/1,append=on"
            -device virtserialport,chardev=out,name=vm.out)
    fi
    (qemu) <$input 2>"$work/log" &
    machine=$!
    { exec 3>&-; } 2>/dev/null || :
fi

timed_out=
if [ -n "$tty" ]; then
    wait $machine || :
else
    end=$((SECONDS + timeout))
    while kill -0 $machine 2>/dev/null; do
        if [ $SECONDS -ge $end ]; then
            timed_out=yes
            kill -9 $machine
            break
        fi
        sleep 0.05
    done
    wait $machine 2>/dev/null || :
    wait $reader || : # for the last of the output
fi
machine=
if [ -n "$verbose" ]; then
    echo "run.sh: $((($(date +%s%N) - begun) / 1000000)) ms with $accel, Linux $(cat "$built/version")" >&2
fi
if [ -n "$timed_out" ]; then
    echo "run.sh: not done after $timeout s; the end of the console:" >&2
    tail -n 15 "$work/console" >&2
    exit 124
fi
code=$(tr -dc 0-9 <"$work/rc" 2>/dev/null || :)
if [ -z "$code" ]; then
    cat "$work/log" >&2
    tail -n 40 "$work/console" >&2
    die "the machine ended without a result"
fi
exit "$code"
