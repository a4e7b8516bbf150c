# A guest of one's own: it says that it runs, counts to ten million, says that it is ready, and halts.

        .set    MAGIC, 0x1BADB002       # Multiboot Specification 0.6.96, 3.1
        .set    FLAGS, 0
        .set    COM1_DATA, 0x3F8
        .set    COM1_LINE_STATUS, 0x3FD
        .set    TRANSMITTER_EMPTY, 0x20
        .set    COUNT, 10000000

        .code32
        .text
        .globl  _start
        .align  4
        .long   MAGIC, FLAGS, -(MAGIC + FLAGS)

_start: cld
        mov     $stack, %esp
        mov     $entered, %esi
        call    print
        mov     $COUNT, %ecx
count:  dec     %ecx
        jnz     count
        mov     $ready, %esi
        call    print
halt:   cli
        hlt
        jmp     halt

print:  lodsb
        test    %al, %al
        jz      done
        mov     %al, %ah
wait:   mov     $COM1_LINE_STATUS, %edx
        in      %dx, %al
        test    $TRANSMITTER_EMPTY, %al
        jz      wait
        mov     $COM1_DATA, %edx
        mov     %ah, %al
        out     %al, %dx
        jmp     print
done:   ret

entered: .asciz "hello: counting\r\n"
ready:   .asciz "[hello ready]\r\n"

        .space  256
stack:
