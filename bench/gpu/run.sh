#!/usr/bin/env bash
# On a machine with a GPU, without Rust or network: does Thalweg work there, and how fast is it? Unpacked from the kit that
# `cargo xtask gpu-kit` makes. In: nothing. Out: logs beside this file and one table at the end; exit code 0 if every check
# passed. SECONDS_EACH (5) is how long each speed is measured, SECONDS_TUNE (120) how long products are tuned for each, BATCHES (32 128 1024)
# the batch sizes of the seed CNN, RESNET (512) that of ResNet-18. Where doctor finds cuBLASLt or cuDNN, a tuned row may have products
# by them: its tuning's log says which ways were chosen, and THALWEG_CUDA_LIBRARIES=none tells what they bring.
set -uo pipefail
cd "$(dirname "$0")"
export THALWEG_GOLDENS=$PWD/goldens
each=${SECONDS_EACH:-5} tune=${SECONDS_TUNE:-120} resnet=${RESNET:-512}
table=() failed=0

check() { # name, log, command...
    local name=$1 log=$2 began=$SECONDS
    shift 2
    if "$@" >"$log" 2>&1; then
        table+=("ok      $name ($((SECONDS - began)) s)")
    else
        table+=("FAILED  $name: see $log")
        failed=1
    fi
}

speed() { # name, command...: its last JSON line's median and step
    local name=$1 line
    shift
    line=$("$@" 2>>speed.log | tee -a speed.log | grep images_per_second | tail -1)
    table+=("$(printf '%-44s' "$name") $(sed -E 's/.*"median": ?([0-9.]+).*"step_us": ?([0-9.]+).*/\1 images\/s, \2 us a step/' <<<"${line:-nothing; see speed.log}")")
}

train() { # name, device, arguments...: training as it is, and on a GPU once its products are tuned
    local name=$1 device=$2
    shift 2
    speed "$name" ./thalweg bench train "$@" --device "$device" --seconds "$each" --json
    [[ $device == cpu ]] && return
    check "tuning: $name" "tune-$((${#table[@]})).log" \
        ./thalweg tune "$@" --device "$device" --what train --seconds "$tune"
    speed "$name, tuned" ./thalweg bench train "$@" --device "$device" --seconds "$each" --json
}

# Compiled kernels and tuned products are this run's own, so that what is not tuned yet is not.
export THALWEG_DATA=${THALWEG_DATA:-${XDG_CACHE_HOME:-$HOME/.cache}} XDG_CACHE_HOME=$PWD/cache
rm -rf "$XDG_CACHE_HOME/thalweg/tuned"

./thalweg doctor | tee doctor.log
devices=()
grep -qE '^ +ok +cuda' doctor.log && devices+=(cuda)
grep -qE '^ +ok +wgpu' doctor.log && devices+=(wgpu)

for device in "${devices[@]}"; do
    need=THALWEG_NEED_$(tr '[:lower:]' '[:upper:]' <<<"$device")
    check "$device: conformance" "conformance-$device.log" env "$need=1" ./conformance "on_$device" --nocapture
    check "$device: parity with Keras and PyTorch" "parity-$device.log" env "$need=1" ./parity "on_$device" --nocapture
done
if [[ " ${devices[*]} " == *" cuda "* ]]; then
    # Beside our own kernels those of cuBLASLt and cuDNN that doctor found; what they refuse is in the log.
    libraries=$(grep -oE '^ +ok +cu(BLASLt|DNN)' doctor.log | awk '{ print $2 }' | paste -sd+)
    check "cuda: products by us and by ${libraries:-no library}" libraries.log \
        env THALWEG_NEED_CUDA=1 ./cuda libraries::libraries_agree_on_cuda --exact --nocapture
fi
coop=$(grep -oE 'wgpu:[0-9]+:coop' doctor.log | head -1)
if [[ $coop == wgpu:0:coop ]]; then
    check "$coop: conformance" conformance-coop.log \
        env THALWEG_NEED_COOP=1 ./conformance with_cooperative_matrices --nocapture
fi
if [[ " ${devices[*]} " == *" cuda "* ]] && command -v compute-sanitizer >/dev/null; then
    for tool in memcheck racecheck synccheck; do
        check "cuda: compute-sanitizer $tool" "$tool.log" \
            env THALWEG_NEED_CUDA=1 compute-sanitizer --tool "$tool" --error-exitcode 1 ./conformance on_cuda
    done
fi

: >speed.log
for batch in ${BATCHES:-32 128 1024}; do
    for device in cpu "${devices[@]}"; do
        train "seed CNN, training, batch $batch, $device" "$device" cifar10.toml --batch-size "$batch"
    done
    if [[ " ${devices[*]} " == *" cuda "* ]]; then
        train "seed CNN, training, batch $batch, cuda:tf32" cuda:tf32 cifar10.toml --batch-size "$batch"
    fi
    if [[ -n $coop ]]; then
        for device in "${coop%:coop}" "$coop"; do
            speed "seed CNN, training, batch $batch, $device, f16" \
                ./thalweg bench train cifar10.toml --batch-size "$batch" --device "$device" \
                --dtype-policy mixed_float16 --seconds "$each" --json
        done
    fi
    if python3 -c 'import torch, sys; sys.exit(not torch.cuda.is_available())' 2>/dev/null; then
        for way in eager compiled graph; do
            speed "seed CNN, training, batch $batch, PyTorch $way" \
                python3 peers/pytorch_gpu.py --batch-size "$batch" --way "$way" --seconds "$each"
        done
    fi
    if python3 -c 'import jax, sys; sys.exit(jax.default_backend() != "gpu")' 2>/dev/null; then
        for steps in 1 16; do
            speed "seed CNN, training, batch $batch, JAX tf32, $steps a call" \
                python3 peers/jax_gpu.py --batch-size "$batch" --steps "$steps" --seconds "$each"
        done
    fi
done
for device in "${devices[@]}"; do
    train "ResNet-18, training, batch $resnet, $device, bf16" "$device" \
        resnet18_32.toml --batch-size "$resnet" --dtype-policy mixed_bfloat16
    train "ResNet-18, training, batch $resnet, $device" "$device" resnet18_32.toml --batch-size "$resnet"
done
if python3 -c 'import torch, sys; sys.exit(not torch.cuda.is_available())' 2>/dev/null; then
    speed "ResNet-18, training, batch $resnet, PyTorch compiled" \
        python3 peers/pytorch_gpu.py --model resnet18 --batch-size "$resnet" --way compiled --seconds "$each"
    speed "ResNet-18, training, batch $resnet, PyTorch, bf16" \
        python3 peers/pytorch_gpu.py --model resnet18 --batch-size "$resnet" --way compiled --bf16 --seconds "$each"
fi

printf '\n'
printf '%s\n' "${table[@]}"
exit "$failed"
